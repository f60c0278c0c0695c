"use strict";
/* The page's end of worker.js: every question is a promise. One that a newer of its topic has
   overtaken comes back as null, once that is answered; one that fails throws the worker's sentence.

   const engine = startEngine(...sources);                    // the text of the worker's files
   await engine.ask({ load: { config, tensors, gzip, mean, std } });
   await engine.run("live", { image, switches, keep: true });   // fields: see worker.js
   await engine.ask({ attention: { stage, block, pixel } });
   await engine.ask({ shares: { pixel } });
   engine.stop(); */

function startEngine(...sources) {
  const address = URL.createObjectURL(new Blob(sources, { type: "text/javascript" }));
  const worker = new Worker(address), asked = new Map();
  let count = 0;
  worker.onmessage = ({ data: { id, error, ...answer } }) => {
    const { topic, resolve, reject } = asked.get(id) ?? {}; // unless a newer one was answered
    for (const [older, question] of asked) {
      if (older >= id || topic === undefined || question.topic !== topic) continue;
      asked.delete(older);
      question.resolve(null);
    }
    asked.delete(id);
    if (error !== undefined) reject?.(new Error(error));
    else resolve?.(answer);
  };
  const ask = (question) => new Promise((resolve, reject) => {
    asked.set(++count, { topic: question.run, resolve, reject });
    worker.postMessage({ ...question, id: count });
  });
  const run = (topic, request) => ask({ ...request, run: topic });
  const stop = () => {
    worker.terminate();
    URL.revokeObjectURL(address);
  };
  return { ask, run, stop };
}

const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
