"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const sources = ["engine", "worker"].map((id) => document.getElementById(id).textContent);
const engine = startEngine(...sources);
const ready = engine.ask({ load: { ...data.model, gzip: bytesOf(data.model.gzip) } });
ready.then(
  () => (document.getElementById("status").textContent = "The model is ready."),
  (error) => (document.getElementById("status").textContent = error.message),
);
