// Remembers who writes, and offers everybody who has written here.
const form = document.getElementById("composer");

if (form) {
  const { target, sender } = form.elements;
  const senders = document.getElementById("senders");
  // After a refusal, what was refused stands there. Whoever has logged in has one name.
  if (!sender.readOnly && !document.getElementById("status").textContent) {
    sender.value = localStorage.getItem("relay_sender") ?? sender.value;
  }
  // Typing replaces the name, so that the list offers all the others.
  for (const field of [target, sender]) field.addEventListener("focus", () => field.select());
  sender.addEventListener("change", () => localStorage.setItem("relay_sender", sender.value.trim()));
  document.getElementById("messages").addEventListener("arrived", ({ detail: messages }) => {
    for (const { dataset } of messages) {
      const isKnown = [...senders.options].some((option) => option.value === dataset.sender);
      if (!isKnown) senders.append(new Option("", dataset.sender));
    }
  });
}
