// The notebook's side of the explorer: a frame without the notebook's origin, and messages between it and Python.

async function unzipped(buffer) {
  const stream = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

function render({ model, el }) {
  const view = crypto.getRandomValues(new Uint32Array(2)).join("-");
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts allow-downloads"); // without allow-same-origin: it cannot reach the notebook
  frame.title = "chips of a run";
  frame.style.cssText = "display: block; box-sizing: border-box; width: 100%; border: 1px solid #8888; border-radius: 6px;";
  frame.style.height = `${Number(model.get("height"))}px`;
  el.append(frame);

  const fromFrame = ({ source, data }) => {
    if (source !== frame.contentWindow || typeof data?.message !== "object") return;
    model.send(data.message, undefined, data.mask ? [data.mask.buffer] : []);
  };
  const fromPython = async (message, buffers) => {
    if (message.kind !== "page") frame.contentWindow?.postMessage(message, "*");
    else if (message.view === null || message.view === view) frame.srcdoc = await unzipped(buffers[0]);
  };
  addEventListener("message", fromFrame);
  model.on("msg:custom", fromPython);
  model.send({ kind: "open", view });
  return () => {
    removeEventListener("message", fromFrame);
    model.off("msg:custom", fromPython);
  };
}

export default { render };
