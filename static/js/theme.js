// Light or dark at once, without asking the hub for the page again.
const form = document.querySelector("form.theme");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const theme = event.submitter.value;
  document.cookie = `relay_theme=${theme}; Max-Age=31536000; Path=/; SameSite=Lax`;
  document.documentElement.dataset.theme = theme;
  // The pressed button has made way for the other one; the keyboard stays with it.
  form.querySelector(theme === "dark" ? ".to-light" : ".to-dark").focus();
});
