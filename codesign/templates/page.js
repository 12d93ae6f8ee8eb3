// Shows what a link of the page leads to: folded parts around it are opened.
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let part = target; part; part = part.parentElement) if (part.matches("details")) part.open = true;
  const bar = document.querySelector(".bar");
  bar.open = target === document.body;
  if (!bar.open) target.scrollIntoView();
}

// The way back from a record leads to the number that was followed, not only to the first place that shows it.
let followed = 0;
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (!link) return;
  const back = document.getElementById(decodeURIComponent(link.hash.slice(1)))?.querySelector("a.back");
  if (back && link.closest("td")) {
    link.id ||= `followed-${++followed}`;
    back.hash = encodeURIComponent(link.id);
  }
  if (link.hash === location.hash) setTimeout(reveal);
});
addEventListener("hashchange", reveal);
if (location.hash) reveal();

// Paper has no folds.
const opened = [];
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details.fold:not([open])")) {
    part.open = true;
    opened.push(part);
  }
});
addEventListener("afterprint", () => {
  for (const part of opened.splice(0)) part.open = false;
});
