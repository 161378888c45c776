"use strict";

// Columns sort by click or key: numbers the largest first, then the smallest, then as the page has them.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const given = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  if (given.length < 2) continue;
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    const numeric = head.classList.contains("right");
    const orders = numeric ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
    button.addEventListener("click", () => {
      const order = orders[(orders.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
      for (const other of heads) other.setAttribute("aria-sort", other === head ? order : "none");
      const sign = order === "descending" ? -1 : 1;
      const rows = order === "none" ? given : given.slice().sort((a, b) => compare(a.cells[place], b.cells[place], sign));
      body.append(...rows);
    });
  });
}

// What has no value stands last, whichever way the others go.
function compare(a, b, sign) {
  const [x, y] = [key(a), key(b)];
  if (x === null || y === null) return (x === null) - (y === null);
  if (typeof x === "number" && typeof y === "number") return sign * (x - y);
  return sign * String(x).localeCompare(String(y), "en", { numeric: true });
}

function key(cell) {
  const number = Number(cell.dataset.value);
  if (cell.dataset.value !== undefined) return Number.isNaN(number) ? null : number;
  return cell.textContent.trim() || null;
}

// Paper cannot be unfolded.
window.addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
