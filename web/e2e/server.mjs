// What stands between a page under test and the world: the server of the page itself, and a proxy in front of the gateway
// that a test can cut, or forbid WebSockets. Used by the drivers.

import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer, request as httpRequest } from "node:http";
import { connect } from "node:net";
import { extname, join, normalize } from "node:path";

const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css" };
/** What makes `performance.now` fine-grained. */
const HEADERS = {
  "Cache-Control": "no-cache",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
};

/** A server that can be cut off from everybody and come back on the same port. */
class Cuttable {
  #server;
  #sockets = new Set();
  #port;

  constructor(server, port) {
    this.#server = server;
    this.#port = port;
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("error", () => socket.destroy());
    });
  }

  open() {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.#port, "127.0.0.1", () => {
        this.#server.off("error", reject);
        resolve();
      });
    });
  }

  cut() {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      for (const socket of this.#sockets) socket.destroy();
    });
  }
}

/** Serves a folder, and at `/token` what `state.token` is; without one, 503. */
export function pageServer(folder, port, state) {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://page");
    if (pathname === "/token") {
      state.tokensServed += 1;
      response.writeHead(state.token ? 200 : 503, { ...HEADERS, "Content-Type": "text/plain" });
      response.end(state.token ?? "");
      return;
    }
    const path = join(folder, normalize(pathname === "/" ? "/index.html" : pathname));
    if (!path.startsWith(folder) || !existsSync(path) || !statSync(path).isFile()) {
      response.writeHead(404, HEADERS).end();
      return;
    }
    response.writeHead(200, { ...HEADERS, "Content-Type": TYPES[extname(path)] ?? "application/octet-stream" });
    createReadStream(path).pipe(response);
  });
  return new Cuttable(server, port);
}

/** Passes HTTP on to the gateway, and WebSockets too while `state.webSockets` is true. */
export function gatewayProxy(port, gatewayPort, state) {
  const target = { host: "127.0.0.1", port: gatewayPort };
  const server = createServer((request, response) => {
    state.polls += request.url.startsWith("/v1/poll") && request.method === "GET" ? 1 : 0;
    const { method, url: path, headers } = request;
    const onward = httpRequest({ ...target, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  server.on("upgrade", (request, socket, head) => {
    if (!state.webSockets) {
      socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
      return;
    }
    const onward = connect(target, () => {
      const lines = request.rawHeaders.flatMap((value, index, all) =>
        index % 2 ? [`${all[index - 1]}: ${value}`] : [],
      );
      onward.write(`${request.method} ${request.url} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
      onward.write(head);
      socket.pipe(onward).pipe(socket);
    });
    for (const [end, other] of [
      [onward, socket],
      [socket, onward],
    ]) {
      end.on("error", () => other.destroy());
      end.on("close", () => other.destroy());
    }
  });
  return new Cuttable(server, port);
}
