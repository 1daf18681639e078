// A panel: the question it answers, its figures as a chart or as a table, and what it says when it has none.

import { type ReactNode, useId, useState } from "react";
import { type Column, DataTable, saveCsv, type TableRow } from "./data-table.tsx";

/** What a panel says instead of, or besides, its figures. */
export interface Notice {
  readonly kind: "loading" | "empty" | "stale" | "error";
  /** One sentence that says what to do. */
  readonly text: string;
}

export interface PanelTable {
  /** Name of the file, without its ending. */
  readonly file: string;
  readonly columns: readonly Column[];
  readonly rows: readonly TableRow[];
}

interface PanelProps {
  readonly title: string;
  readonly question: string;
  readonly notice?: Notice | null | undefined;
  /** The same figures as rows; gives the panel its table and its CSV. */
  readonly table?: PanelTable | undefined;
  readonly actions?: ReactNode;
  readonly className?: string;
  readonly children?: ReactNode;
}

const MARKS: Readonly<Record<Notice["kind"], string>> = { loading: "…", empty: "○", stale: "◐", error: "✕" };

export function Panel({ title, question, notice, table, actions, className = "", children }: PanelProps) {
  const [asTable, setAsTable] = useState(false);
  const heading = useId();
  const bare = notice?.kind === "loading" || notice?.kind === "empty";
  return (
    <section className={`panel ${className}`} aria-labelledby={heading} data-notice={notice?.kind}>
      <header className="panel-head">
        <div>
          <h2 id={heading}>{title}</h2>
          <p className="question">{question}</p>
        </div>
        <div className="panel-actions">
          {actions}
          {table && table.rows.length > 0 && (
            <>
              <button
                type="button"
                className="small"
                aria-pressed={asTable}
                aria-label={`${title} as a table`}
                onClick={() => setAsTable(!asTable)}
              >
                Table
              </button>
              <button
                type="button"
                className="small"
                aria-label={`Save ${title} as CSV`}
                onClick={() => saveCsv(table.file, table.columns, table.rows)}
              >
                CSV
              </button>
            </>
          )}
        </div>
      </header>
      {notice && (
        <p className="notice" data-kind={notice.kind}>
          <span aria-hidden="true">{MARKS[notice.kind]}</span> {notice.text}
        </p>
      )}
      {!bare && (asTable && table ? <DataTable caption={title} columns={table.columns} rows={table.rows} /> : children)}
    </section>
  );
}
