// How numbers and times are written on the page.

/** Writes a duration given in milliseconds with about three digits: `38 µs`, `1.42 ms`, `2.1 s`. */
export function duration(ms: number): string {
  const size = Math.abs(ms);
  if (size >= 1_000) return `${(ms / 1_000).toFixed(size < 10_000 ? 1 : 0)} s`;
  if (size >= 100) return `${ms.toFixed(0)} ms`;
  if (size >= 10) return `${ms.toFixed(1)} ms`;
  if (size >= 0.1 || ms === 0) return `${ms.toFixed(size === 0 ? 0 : 2)} ms`;
  return `${(ms * 1_000).toFixed(0)} µs`;
}

/** Writes a lane's budget, which is a whole number. */
export function budget(ms: number): string {
  return `${ms} ms`;
}

/** Writes events per second. */
export function rate(perSecond: number): string {
  if (perSecond === 0) return "0/s";
  return perSecond >= 10 ? `${Math.round(perSecond).toLocaleString("en")}/s` : `${perSecond.toFixed(1)}/s`;
}

export function percent(share: number, digits = 0): string {
  return `${(share * 100).toFixed(digits)} %`;
}

/** Writes the time of day to the millisecond. */
export function clockTime(time: Date): string {
  return `${time.toLocaleTimeString("en-GB")}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

/** Writes an amount in its unit; a currency code becomes its symbol. `sign` adds a plus to what is not negative. */
export function amount(value: number, unit: string, sign = false): string {
  const digits = Math.abs(value) >= 100 ? 0 : 2;
  const options: Intl.NumberFormatOptions = {
    maximumFractionDigits: digits,
    minimumFractionDigits: 0,
    signDisplay: sign ? "exceptZero" : "auto",
  };
  if (/^[A-Z]{3}$/.test(unit)) {
    return value.toLocaleString("en", {
      ...options,
      style: "currency",
      currency: unit,
      currencyDisplay: "narrowSymbol",
    });
  }
  return `${value.toLocaleString("en", options)}${unit === "" ? "" : ` ${unit}`}`;
}

/** Reads a ProtoJSON number: it may be left out, or be a word such as "NaN". */
export function number(value: number | string | undefined): number {
  const parsed = Number(value ?? 0);
  return Number.isFinite(parsed) ? parsed : 0;
}

/** Writes a constant such as `INSIGHT_KIND_BUYING_SIGNAL` as `Buying signal`. */
export function constant(name: string | undefined, prefix: string): string {
  const words = (name ?? "").replace(prefix, "").toLowerCase().replaceAll("_", " ");
  if (words === "" || words === "unspecified") return "";
  return words.charAt(0).toUpperCase() + words.slice(1);
}
