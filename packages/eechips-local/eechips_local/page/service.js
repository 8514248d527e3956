// Requests to the server of the page, and what they may answer.

class ServiceError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The message of a response that is an error. */
async function messageOf(response) {
  const text = await response.text();
  try {
    return String(JSON.parse(text).error.message);
  } catch {
    return `HTTP ${response.status}: ${text.slice(0, 200) || response.statusText}`;
  }
}

async function get(path, signal) {
  const response = await fetch(path, { signal, cache: "no-store" });
  if (!response.ok) throw new ServiceError(response.status, await messageOf(response));
  return response;
}

async function post(path, body, signal) {
  const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
  if (!response.ok) throw new ServiceError(response.status, await messageOf(response));
  return response.json();
}

const PROJECT = "/v1/projects/local";
const TAG = "page"; // workload tag of all requests that compute something for the page

const computed = async (expression, signal) => (await post(`${PROJECT}/value:compute`, { expression, workloadTag: TAG }, signal)).result ?? null;

/** Show a message about a failure, or hide it. */
function showProblem(error) {
  const line = byId("problem");
  if (error?.name === "AbortError") return;
  line.hidden = error === null;
  if (error !== null) line.textContent = error instanceof TypeError && /fetch/i.test(error.message) ? "The local Earth Engine does not answer." : error.message;
}
