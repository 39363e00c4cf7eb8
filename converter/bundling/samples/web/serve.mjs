// A static server of the bundle, for trying it out: node sample/serve.mjs [PORT]

import { createReadStream } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, sep } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = await realpath(fileURLToPath(new URL("../", import.meta.url)));
const TYPES = {
  ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".mjs": "text/javascript", ".json": "application/json",
  ".wasm": "application/wasm", ".png": "image/png",
};

const server = createServer(async ({ url }, answer) => {
  try {
    const wanted = decodeURIComponent(new URL(url, "http://localhost").pathname);
    const path = await realpath(join(ROOT, wanted.endsWith("/") ? `${wanted}index.html` : wanted));
    if (!path.startsWith(ROOT + sep) || !(await stat(path)).isFile()) throw new Error("not here");
    answer.writeHead(200, { "Content-Type": TYPES[extname(path)] ?? "application/octet-stream" });
    createReadStream(path).pipe(answer);
  } catch {
    answer.writeHead(404).end("not found\n");
  }
});
const port = Number(process.argv[2] ?? 8080);
server.listen(port, "127.0.0.1", () => console.log(`http://localhost:${server.address().port}/sample/`));
