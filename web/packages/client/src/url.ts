// Addresses of the gateway.

/** The address of polls that belongs to that of a WebSocket. */
export function pollUrl(url: string): string {
  return url.replace(/^ws/, "http").replace(/\/ws(\?.*)?$/, "/poll");
}
