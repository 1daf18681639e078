// How numbers, times and names are written on the pages.

/** Writes a duration given in milliseconds with about three digits: `38 µs`, `1.42 ms`, `2.1 s`. */
export function duration(ms: number): string {
  const size = Math.abs(ms);
  if (size >= 60_000) return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1_000)} s`;
  if (size >= 1_000) return `${(ms / 1_000).toFixed(size < 10_000 ? 1 : 0)} s`;
  if (size >= 100) return `${ms.toFixed(0)} ms`;
  if (size >= 10) return `${ms.toFixed(1)} ms`;
  if (size >= 0.1 || ms === 0) return `${ms.toFixed(size === 0 ? 0 : 2)} ms`;
  return `${(ms * 1_000).toFixed(0)} µs`;
}

/** Writes how long ago something was; a clock that is a little ahead counts as now. */
export function age(ms: number): string {
  const seconds = Math.floor(ms / 1_000);
  if (seconds < 2) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ago`;
  const days = Math.floor(seconds / 86_400);
  return days === 1 ? "yesterday" : `${days} days ago`;
}

export function clockTime(ms: number): string {
  return new Date(ms).toLocaleTimeString("en-GB");
}

export function percent(share: number, digits = 0): string {
  return `${(share * 100).toFixed(digits)} %`;
}

/** Writes an amount in its unit; a currency code becomes its symbol. `sign` adds a plus, and a true minus. */
export function amount(value: number, unit: string, sign = false): string {
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : 2;
  const plain = /^[A-Z]{3}$/.test(unit)
    ? size.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: 0, ...currency(unit) })
    : `${size.toLocaleString("en", { maximumFractionDigits: digits })}${unit === "" ? "" : ` ${unit}`}`;
  const mark = value < 0 ? "−" : sign && value > 0 ? "+" : "";
  return mark + plain;
}

function currency(unit: string): Intl.NumberFormatOptions {
  return { style: "currency", currency: unit, currencyDisplay: "narrowSymbol" };
}

/** Reads a ProtoJSON number: it may be left out, or be a word such as `NaN`. */
export function number(value: number | string | undefined): number {
  const parsed = Number(value ?? 0);
  return Number.isFinite(parsed) ? parsed : 0;
}

/** Writes a constant such as `INSIGHT_KIND_BUYING_SIGNAL` as `Buying signal`. */
export function constant(name: string | undefined, prefix: string): string {
  const words = (name ?? "").replace(prefix, "").toLowerCase().replaceAll("_", " ");
  return words === "unspecified" ? "" : capital(words);
}

/** Writes a name such as `intensive-opt-in` as words. */
export function words(name: string | undefined): string {
  return (name ?? "").replaceAll(/[-_]/g, " ");
}

export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}
