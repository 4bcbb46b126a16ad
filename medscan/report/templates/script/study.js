// Sets up whatever the page has.
function study() {
  // Viewers are set up when they come near the screen: a study may have many.
  const observer = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      observer.unobserve(target);
      viewer(target);
    }
  }, { rootMargin: "50%" });
  for (const figure of all(".viewer")) observer.observe(figure);
  const judges = new Map(all(".judge").map((group) => [group, judge(group)]));
  const judgeInUse = () => {
    const within = judges.size === 1 ? document : $(".viewer.current")?.closest("details.study[open]");
    return within && judges.get($(".judge", within));
  };
  const help = $("dialog.help");
  for (const button of all("[name=help], dialog.help button")) {
    button.addEventListener("click", () => (help.open ? help.close() : help.showModal()));
  }
  document.addEventListener("keydown", (event) => {
    if (typing(event) || !plain(event) || help.open) return;
    if (event.key === "?") help.showModal();
    judgeInUse()?.(event);
    const link = { j: "next", k: "prev", u: "up" }[event.key];
    if (link) $(`a[rel=${link}]`)?.click();
    else current?.key(event);
  });
}

const table = $(".studies");
if (table && $("#data")) index(table);
if ($(".viewer, .judge")) study();
