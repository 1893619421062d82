// The channel selector of small screens opens what is chosen; without script its button does.
document.addEventListener("change", ({ target }) => {
  if (target.id === "channel-select") target.form.requestSubmit();
});
