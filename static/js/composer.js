// Sends without leaving the page, and says how it went.
const form = document.getElementById("composer");
const MOST_MS = 30000;

if (form) {
  const { target, sender, text, key, reply_to: reply } = form.elements;
  const button = document.getElementById("send");
  const status = document.getElementById("status");

  const say = (kind, ...words) => {
    status.replaceChildren(...words);
    status.className = `status ${kind}`;
  };

  const post = async (message) => {
    const response = await fetch("/api/messages", {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": key.value },
      body: JSON.stringify(message),
      signal: AbortSignal.timeout(MOST_MS),
    }).catch(() => {
      throw new Error("the hub cannot be reached");
    });
    const answer = await response.json().catch(() => ({}));
    if (!answer.ok) throw new Error(answer.error ?? `Request failed with status ${response.status}`);
    return answer.message;
  };

  const sent = (message, { id, target: name }) => {
    if (text.value === message.text) text.value = "";
    const link = Object.assign(document.createElement("a"), {
      href: `/?channel=${encodeURIComponent(name)}`,
      textContent: name,
    });
    const isHere = name === form.dataset.channel;
    say("ok", `Sent #${id} to `, isHere ? name : link, ".");
    form.dispatchEvent(new CustomEvent("sent", { bubbles: true, detail: isHere }));
    form.dispatchEvent(new Event("input"));
  };

  const send = async () => {
    const message = { target: target.value.trim(), sender: sender.value.trim(), text: text.value };
    if (!message.target || !message.sender || !message.text.trim()) {
      return say("error", "Channel, sender, and message text are required.");
    }
    if (reply.value) message.reply_to = Number(reply.value);
    button.disabled = true;
    say("", "Sending...");
    await post(message).then(
      (answer) => sent(message, answer),
      (error) => say("error", `Send failed: ${error.message}`),
    );
    button.disabled = false;
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!button.disabled) send();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  // What is sent again unchanged, after a failure, is the same message; the hub knows it by its key. Pages have
  // randomUUID only over https and on the hub's own machine.
  form.addEventListener("input", () => {
    key.value = Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
  });
}
