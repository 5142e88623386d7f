/** Tables as text: pasted from a spreadsheet (tabs) or a file (commas), with quotes as in RFC 4180. */

/** Cells of a text, a list a line. */
export function cells(text) {
  const line = text.split("\n", 1)[0];
  const comma = line.includes("\t") ? "\t" : line.includes(";") && !line.includes(",") ? ";" : ",";
  const rows = [[]];
  let cell = "";
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const one = text[at];
    if (quoted) {
      if (one === '"' && text[at + 1] === '"') cell += text[++at];
      else if (one === '"') quoted = false;
      else cell += one;
    } else if (one === '"' && cell === "") quoted = true;
    else if (one === comma || one === "\n") {
      rows.at(-1).push(cell.trim());
      cell = "";
      if (one === "\n") rows.push([]);
    } else cell += one;
  }
  rows.at(-1).push(cell.trim());
  return rows.filter((row) => row.some((one) => one !== ""));
}

/** A cell as a value: a number where it is one, nothing where it is empty. */
export function cell(text) {
  const found = text.trim();
  if (found === "") return null;
  return Number.isFinite(Number(found)) ? Number(found) : found;
}

/** A table with a header as `{columns, rows}`. */
export function table(text) {
  const [columns = [], ...rows] = cells(text);
  return { columns, rows: rows.map((row) => Object.fromEntries(columns.map((name, place) => [name, cell(row[place] ?? "")]))) };
}

/** Lines `label<TAB or comma>sentence` as examples. */
export function sentences(text) {
  return text
    .split("\n")
    .flatMap((line) => cells(line))
    .filter((row) => row.length > 1 && row[0] && row.slice(1).join("").trim())
    .map(([label, ...rest]) => ({ label, value: rest.join(", ") }));
}
