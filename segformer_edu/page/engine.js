// The model in its worker, asked from the page.
const engine = { worker: null, asked: 0, open: new Map() };

function startEngine(source, model) {
  engine.worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  engine.worker.onmessage = ({ data }) => {
    const { topic, resolve, reject } = engine.open.get(data.id) ?? {};
    if (!resolve) return;
    for (const [id, each] of engine.open) {
      if (topic === undefined || each.topic !== topic || id > data.id) continue;
      engine.open.delete(id);
      if (id < data.id) each.resolve(null); // a newer question of its topic was answered
    }
    engine.open.delete(data.id);
    if (data.error) reject(new Error(data.error));
    else resolve(data);
  };
  return ask({ load: model });
}

// An answer, or null if a newer question of the same topic (`run`) has overtaken this one.
function ask(request) {
  return new Promise((resolve, reject) => {
    const id = ++engine.asked;
    engine.open.set(id, { topic: request.run, resolve, reject });
    engine.worker.postMessage({ ...request, id });
  });
}
