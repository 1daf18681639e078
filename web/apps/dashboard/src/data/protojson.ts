// Reads what ProtoJSON writes as text: durations, times, and the names of constants without their prefix.

/** Reads `"1.5s"` as seconds; nothing for what is not given. */
export function seconds(text: string | undefined): number {
  const value = Number.parseFloat(text ?? "");
  return Number.isFinite(value) ? value : 0;
}

/** Writes seconds as a duration. */
export function duration(value: number): string {
  return `${Number(value.toFixed(3))}s`;
}

/** Reads a time; null where it is not set. */
export function time(text: string | undefined): number | null {
  const value = Date.parse(text ?? "");
  return Number.isNaN(value) || value === 0 ? null : value;
}

/** `ROLLOUT_STATE_ROLLED_BACK` without `ROLLOUT_STATE_`; empty for the unspecified one. */
export function name(constant: string | undefined, prefix: string): string {
  const found = (constant ?? "").replace(prefix, "");
  return found === "UNSPECIFIED" ? "" : found;
}
