// Keeps what is being written in each channel until it is sent, with the key by which the hub knows it.
const form = document.getElementById("composer");

if (form) {
  const { text, key } = form.elements;
  const name = `relay_draft:${form.dataset.channel}`;
  const kept = JSON.parse(localStorage.getItem(name));
  if (kept && !text.value) {
    text.value = kept.text;
    key.value = kept.key;
  }
  form.addEventListener("input", () => {
    if (text.value.trim()) localStorage.setItem(name, JSON.stringify({ text: text.value, key: key.value }));
    else localStorage.removeItem(name);
  });
}
