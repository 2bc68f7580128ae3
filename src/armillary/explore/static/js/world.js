// The episode that this tab has opened: the dream and the plan look at the same moment of it.

// Opens an episode unless the one that is open is of this run.
export async function openWorld(app, { seed = 0, task = null, anew = false } = {}) {
  const run = app.current.number;
  if (!anew && app.dreaming?.run === run) return app.dreaming;
  const answer = await app.link.ask("dream.open", { run, seed, task });
  app.dreaming = { run, seed, facts: answer.facts, answer, history: [] };
  note(app.dreaming, answer);
  return app.dreaming;
}

// Keeps what a time step has brought, for the curves.
export function note(world, answer) {
  world.answer = answer;
  const last = world.history[world.history.length - 1];
  if (last?.step === answer.step) world.history.pop();
  world.history.push({
    step: answer.step, asleep: answer.asleep, truth: answer.reward, dream: answer.dream_reward, branch: answer.branch_reward,
    apart: percent(answer.dream_difference), branchApart: percent(answer.branch_difference),
    value: answer.dream_value, branchValue: answer.branch_value,
  });
  if (world.history.length > 400) world.history.shift();
}

const percent = (part) => (part === undefined || part === null ? null : 100 * part);

export async function openGame(app, { side = 0, anew = false } = {}) {
  const run = app.current.number;
  if (!anew && app.playing?.run === run) return app.playing;
  const answer = await app.link.ask("game.open", { run, side });
  app.playing = { run, answer };
  return app.playing;
}

export function trained(facts) {
  return `${facts.agent ?? "the agent"}, after ${facts.trained} episodes of training`;
}
