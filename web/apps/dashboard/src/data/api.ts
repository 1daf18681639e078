// Requests to the service that gave this page. Every failure becomes an ApiError with a sentence that says what to do.

export const API = "/api/v1/websocket-performance";

/** What the service refused, or why it was not reached. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** HTTP status; 0 where there was no answer. */
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

/** Asks for a resource below `API`. */
export function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return call<T>(`${API}${path}`, { cache: "no-store", ...(signal ? { signal } : {}) });
}

/** Sends a change. The service answers these only to an operator: see `access.ts`. */
export function post<T>(path: string, body: unknown): Promise<T> {
  return call<T>(`${API}${path}`, postOptions(body));
}

export function postOptions(body: unknown): RequestInit {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

/** Makes an error of an answer that is not the wanted one. */
export async function refusal(response: Response): Promise<ApiError> {
  const body: unknown = await response.json().catch(() => null);
  const { reason = "UNEXPECTED", message = `the service answered ${response.status}: look into its log` } = (body ??
    {}) as { reason?: string; message?: string };
  return new ApiError(response.status, reason, message);
}

/** What to show of an error of any kind. */
export function explain(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function call<T>(url: string, options: RequestInit): Promise<T> {
  let response: Response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, "UNREACHABLE", "the service does not answer: check that `lanecast up` is running");
  }
  if (!response.ok) throw await refusal(response);
  return (await response.json()) as T;
}
