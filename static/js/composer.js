// Sends without leaving the page, and says how it went.
const form = document.getElementById("composer");

if (form) {
  const { target, sender, text } = form.elements;
  const button = document.getElementById("send");
  const status = document.getElementById("status");
  const senders = document.getElementById("senders");

  const say = (words, kind = "") => {
    status.textContent = words;
    status.className = `status ${kind}`;
  };

  const post = async (message) => {
    const response = await fetch("/api/messages", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(message),
    }).catch(() => {
      throw new Error("the hub cannot be reached");
    });
    const answer = await response.json().catch(() => ({}));
    if (!answer.ok) throw new Error(answer.error ?? `Request failed with status ${response.status}`);
    return answer.message;
  };

  const send = async () => {
    const message = { target: target.value.trim(), sender: sender.value.trim(), text: text.value };
    if (!message.target || !message.sender || !message.text.trim()) {
      say("Channel, sender, and message text are required.", "error");
      return;
    }
    button.disabled = true;
    say("Sending...");
    try {
      const sent = await post(message);
      if (text.value === message.text) text.value = "";
      say(`Sent #${sent.id} to ${sent.target}.`, "ok");
    } catch (error) {
      say(`Send failed: ${error.message}`, "error");
    }
    button.disabled = false;
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!button.disabled) send();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });

  if (!status.textContent) sender.value = localStorage.getItem("relay_sender") ?? sender.value;
  // Typing replaces the name, so that the list offers all the others.
  for (const field of [target, sender]) field.addEventListener("focus", () => field.select());
  sender.addEventListener("change", () => localStorage.setItem("relay_sender", sender.value.trim()));
  document.getElementById("messages").addEventListener("arrived", ({ target: message }) => {
    const name = message.dataset.sender;
    if (![...senders.options].some((option) => option.value === name)) senders.append(new Option("", name));
  });
}
