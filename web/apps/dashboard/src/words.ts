// Constants of the contracts as people read them.

/** `ROLLED_BACK` as `rolled back`. */
export function words(constant: string): string {
  return constant.toLowerCase().replaceAll("_", " ");
}

/** `lanecast.ai.v1.ShapExplanation` as `Shap Explanation`. */
export function typeName(fullName: string): string {
  const last = fullName.split(".").at(-1) ?? fullName;
  return last.replaceAll(/(?<=[a-z])(?=[A-Z])/g, " ");
}

/** How long ago, or how long, in its two greatest units: `3 min 20 s`. */
export function span(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor((whole % 86_400) / 3_600), "h"],
    [Math.floor((whole % 3_600) / 60), "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0 s";
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(" ");
}

/** Time of day, with the day where it is not today. */
export function moment(time: number | null): string {
  if (time === null) return "–";
  const date = new Date(time);
  const clock = date.toLocaleTimeString("en-GB");
  return date.toDateString() === new Date().toDateString() ? clock : `${date.toLocaleDateString("en-CA")} ${clock}`;
}
