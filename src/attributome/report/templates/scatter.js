"use strict";
// One name of a map at a time: its dots keep their colour, the others turn grey.
for (const panel of document.querySelectorAll("[data-map]")) {
  const choice = panel.querySelector("select");
  if (!choice) continue;
  choice.closest("label").hidden = false;
  choice.addEventListener("input", () => {
    const chosen = choice.value;
    panel.classList.toggle("one", chosen !== "");
    for (const path of panel.querySelectorAll("path[data-name]")) {
      const own = path.dataset.name === chosen;
      path.classList.toggle("chosen", own);
      if (own) path.parentNode.append(path); // on top
    }
  });
}
