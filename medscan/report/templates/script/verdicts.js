// Verdicts that the browser keeps until they are saved.
/** Verdicts on a report kept in this browser: by study, then by "STACK SLICE" or "" (all of it). */
class Verdicts {
  static kept = "{}"; // stands in where a browser keeps nothing for pages from files

  constructor(report) {
    this.name = `medscan verdicts ${report}`;
  }

  /** Whether other pages of the report see the verdicts that this one keeps. */
  get shared() {
    try {
      return localStorage.getItem(this.name) !== null;
    } catch {
      return false;
    }
  }

  get all() {
    try {
      return JSON.parse(localStorage.getItem(this.name) ?? Verdicts.kept);
    } catch {
      return JSON.parse(Verdicts.kept);
    }
  }

  set all(studies) {
    Verdicts.kept = JSON.stringify(studies);
    try {
      localStorage.setItem(this.name, Verdicts.kept);
    } catch {
      // Then only this page holds them.
    }
  }

  put(study, byPart) {
    const studies = this.all;
    delete studies[study];
    this.all = Object.keys(byPart).length ? { ...studies, [study]: byPart } : studies;
  }

  /** The verdict on a study as a whole, from those on its parts; empty for none. */
  static whole(byPart = {}) {
    const verdicts = Object.values(byPart);
    return verdicts.includes("abnormal") ? "abnormal" : verdicts[0] ?? "";
  }

  get csv() {
    const rows = Object.entries(this.all).flatMap(([study, byPart]) =>
      Object.entries(byPart).map(([part, verdict]) => [study, ...(part || " ").split(" "), verdict]));
    // Anything but plain names could be a formula to a spreadsheet.
    const plain = rows.filter((row) => /^(\w[\w.-]*)?(,(\w[\w.-]*)?){3}$/.test(`${row}`));
    return [["study", "stack", "slice", "verdict"], ...plain].map((row) => `${row}\r\n`).join("");
  }
}

function download(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Set up the verdict buttons of a study; returns the handler of their keys. */
function judge(group) {
  const { study, report } = group.dataset, verdicts = new Verdicts(report), status = $("[role=status]", group);
  if (!verdicts.shared && !$("#data")) return () => {}; // the list would never see them
  const show = () => {
    const byPart = verdicts.all[study] ?? {}, verdict = Verdicts.whole(byPart);
    const slices = Object.keys(byPart).filter(Boolean).map((part) => `slice ${part.split(" ")[1]}`);
    status.textContent = slices.length ? `${verdict}: ${slices.join(", ")}` : verdict;
    for (const button of all("button", group)) button.ariaPressed = String(button.value === verdict);
    $("[value='']", group).hidden = !verdict;
  };
  const give = (verdict) => {
    const before = verdicts.all[study] ?? {}, part = verdict === "abnormal" && shownSlice(group);
    if (!verdict) verdicts.put(study, {});
    else if (!part) verdicts.put(study, { "": verdict });
    // A verdict on the whole study gives way to one on a slice; those on other slices stay.
    else verdicts.put(study, { ...(before[""] ? {} : before), [part]: verdict });
    show();
    dispatchEvent(new Event("judged"));
  };
  for (const button of all("button", group)) button.addEventListener("click", () => give(button.value));
  for (const name of ["pageshow", "storage", "judged"]) addEventListener(name, show);
  group.hidden = false;
  show();
  return (event) => {
    if (event.key === "a" || event.key === "n") give(event.key === "a" ? "abnormal" : "normal");
  };
}
