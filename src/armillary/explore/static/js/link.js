// The socket to this tab's session. It comes back by itself when it breaks, to the same session.

const decoder = new TextDecoder();

export class Link extends EventTarget {
  #socket = null;
  #session = null;
  #next = 1;
  #waiting = new Map();
  #unsent = [];
  #tries = 0;

  constructor() {
    super();
    this.state = "closed";
    this.#open();
    addEventListener("online", () => this.#open());
  }

  // Asks the session; the promise has its answer, and fails with the reason that the session gives.
  ask(what, given = {}) {
    const id = this.#next++;
    const text = JSON.stringify({ id, do: what, ...given });
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      if (this.state === "open") this.#socket.send(text);
      else this.#unsent.push(text);
    });
  }

  // Breaks the socket, as a network does: for tests.
  drop() {
    this.#socket?.close();
  }

  #open() {
    if (this.#socket && this.#socket.readyState < WebSocket.CLOSING) return;
    const address = new URL("socket", document.baseURI);
    address.protocol = "ws:";
    if (this.#session) address.searchParams.set("session", this.#session);
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => this.#take(event.data);
    socket.onclose = () => this.#lost(socket);
    this.#socket = socket;
  }

  #take(data) {
    if (typeof data === "string") {
      const { session, known } = JSON.parse(data);
      const again = this.#session !== null;
      this.#session = session;
      this.#tries = 0;
      this.#change("open");
      for (const text of this.#unsent.splice(0)) this.#socket.send(text);
      if (again) this.dispatchEvent(new CustomEvent("back", { detail: { known } }));
      return;
    }
    const answer = unpack(data);
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (!waiting) return;
    if (answer.error) waiting.reject(new Error(answer.error));
    else waiting.resolve(answer);
  }

  #lost(socket) {
    if (socket !== this.#socket) return;
    this.#change("lost");
    this.#unsent = [];
    for (const { reject } of this.#waiting.values()) reject(new Lost());
    this.#waiting.clear();
    const pause = Math.min(5000, 250 * 2 ** this.#tries++);
    setTimeout(() => this.#open(), pause);
  }

  #change(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}

export class Lost extends Error {
  constructor() {
    super("The connection broke; it is being restored.");
  }
}

// Four bytes of length, JSON, then the bytes of the pictures that it names.
function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const answer = JSON.parse(decoder.decode(new Uint8Array(buffer, 4, length)));
  let offset = 4 + length;
  const pictures = {};
  for (const { name, shape } of answer.images) {
    const size = shape.reduce((a, b) => a * b, 1);
    pictures[name] = { shape, bytes: new Uint8Array(buffer, offset, size) };
    offset += size;
  }
  return { ...answer, images: pictures };
}
