// A question that is answered before anything changes. The browser's own dialog: it keeps the focus, Escape closes it,
// and the focus goes back to where it was.

import { type FormEvent, type ReactNode, useEffect, useId, useRef, useState } from "react";
import { actor, keepActor, noteAllowed, noteRefusal } from "../access.ts";
import { ApiError, explain } from "../data/api.ts";

interface DialogProps {
  readonly title: string;
  readonly confirm: string;
  readonly danger?: boolean;
  /** The label of the reason; null asks for none. */
  readonly reason?: string | null;
  readonly reasonRequired?: boolean;
  readonly disabled?: boolean;
  readonly onClose: () => void;
  /** Does it; what it throws is shown, and the dialog stays. */
  readonly onConfirm: (given: { actor: string; reason: string }) => Promise<void>;
  readonly children?: ReactNode;
}

export function Dialog(props: DialogProps) {
  const { title, confirm, danger = false, reason = "Reason", reasonRequired = false, onClose, onConfirm } = props;
  const dialog = useRef<HTMLDialogElement>(null);
  const [problem, setProblem] = useState<{ text: string; conflict: boolean } | null>(null);
  const [busy, setBusy] = useState(false);
  const id = useId();

  useEffect(() => dialog.current?.showModal(), []);

  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const who = String(form.get("actor") ?? "").trim();
    keepActor(who);
    setBusy(true);
    setProblem(null);
    try {
      await onConfirm({ actor: who, reason: String(form.get("reason") ?? "").trim() });
      noteAllowed();
      onClose();
    } catch (error) {
      noteRefusal(error);
      setProblem({ text: explain(error), conflict: error instanceof ApiError && error.reason === "VERSION_STALE" });
    } finally {
      setBusy(false);
    }
  };

  return (
    <dialog ref={dialog} className="dialog" aria-labelledby={id} onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        <h2 id={id}>{title}</h2>
        {props.children}
        {reason !== null && (
          <label className="field">
            <span>
              {reason} {reasonRequired ? "" : <span className="muted">(for the record, optional)</span>}
            </span>
            <textarea name="reason" rows={2} maxLength={400} required={reasonRequired} />
          </label>
        )}
        <label className="field">
          <span>Your name</span>
          <input name="actor" defaultValue={actor()} required maxLength={80} autoComplete="nickname" />
        </label>
        {problem && (
          <p className="notice" data-kind="error" role="alert">
            <span aria-hidden="true">✕</span> {problem.conflict && <strong>Somebody else was faster. </strong>}
            {problem.text}
          </p>
        )}
        <footer className="dialog-actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" className={danger ? "primary danger" : "primary"} disabled={busy || props.disabled}>
            {busy ? "Working…" : confirm}
          </button>
        </footer>
      </form>
    </dialog>
  );
}
