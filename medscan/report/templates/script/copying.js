// Buttons that copy a text.
/** Put a text on the clipboard; returns whether it is there. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Refused, or missing, as on pages that plain HTTP brought: the old way works there.
    const field = Object.assign(document.createElement("textarea"), { value: text, className: "quiet" });
    const focused = document.activeElement;
    document.body.append(field);
    field.focus({ preventScroll: true });
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    focused?.focus({ preventScroll: true });
    return done;
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest(".copy"), name = button?.dataset.name ?? button?.textContent;
  if (!button) return;
  button.dataset.name = name;
  button.textContent = (await copy(button.dataset.copy)) ? "Copied" : "Not copied";
  setTimeout(() => { button.textContent = name; }, 2000);
});
