// Figures as a table, and as CSV for a spreadsheet.

import type { ReactNode } from "react";

export interface Column {
  readonly key: string;
  readonly label: string;
  /** True: a number, set to the right. */
  readonly numeric?: boolean;
}

/** One row. `value` goes into the CSV; `text`, where given, is shown. */
export type TableRow = Readonly<Record<string, Cell>>;
export interface Cell {
  readonly value: string | number | null;
  readonly text?: ReactNode;
}

export function DataTable({
  caption,
  columns,
  rows,
}: {
  caption: string;
  columns: readonly Column[];
  rows: readonly TableRow[];
}) {
  return (
    // Focusable, so that a keyboard can scroll what is wider than the panel.
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls
    <section className="table-scroll" tabIndex={0} aria-label={`${caption}, table`}>
      <table className="data">
        <caption className="visually-hidden">{caption}</caption>
        <thead>
          <tr>
            {columns.map(({ key, label, numeric }) => (
              <th key={key} scope="col" data-numeric={numeric}>
                {label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: rows have no name of their own
            <tr key={index}>
              {columns.map(({ key, numeric }, place) =>
                place === 0 ? (
                  <th key={key} scope="row">
                    {shown(row[key])}
                  </th>
                ) : (
                  <td key={key} data-numeric={numeric}>
                    {shown(row[key])}
                  </td>
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function shown(cell: Cell | undefined): ReactNode {
  return cell?.text ?? cell?.value ?? "–";
}

/** Writes rows as CSV (RFC 4180), with the names of the columns first. */
export function toCsv(columns: readonly Column[], rows: readonly TableRow[]): string {
  const lines = [columns.map(({ label }) => quoted(label))];
  for (const row of rows) lines.push(columns.map(({ key }) => quoted(row[key]?.value ?? "")));
  return `${lines.map((line) => line.join(",")).join("\r\n")}\r\n`;
}

function quoted(value: string | number): string {
  if (typeof value === "number") return String(value);
  // A spreadsheet must not take text for a formula.
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function saveCsv(file: string, columns: readonly Column[], rows: readonly TableRow[]): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([toCsv(columns, rows)], { type: "text/csv" }));
  link.download = `${file}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}
