// Light, dark or as the system is, at once, without asking the hub for the page again.
const form = document.querySelector("form.theme");
const YEAR_SEC = 31536000;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const theme = event.submitter.value;
  const isSystem = theme === "system";
  document.cookie = `relay_theme=${theme}; Max-Age=${isSystem ? 0 : YEAR_SEC}; Path=/; SameSite=Strict`;
  if (isSystem) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  // The pressed button has made way for another one; the keyboard stays here.
  const shown = [...form.elements].filter((button) => button.checkVisibility());
  shown.at(-1).focus();
});
