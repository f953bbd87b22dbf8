// Builds dist/ from src/: `node build.mjs [directory]`, with esbuild where Node finds it.

import { readFile, mkdir, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { join } from "node:path";
import { build } from "esbuild";

const from = new URL(".", import.meta.url).pathname;
const source = process.env.SWITCHBOARD_CLIENTS ?? join(from, "..");
const to = process.argv[2] ?? join(source, "js/dist");
const options = {
  bundle: true,
  minify: true,
  target: "es2022",
  // Names that only this source uses; names of the protocol, the interface and the storage stay.
  mangleProps: /^(_.*|is(Repeatable|Restored|Kept|Polite|Offering)|ignores|describe|remote|ready|gone|cast|ask|ids|note|done)$/,
  charset: "utf8",
  write: false,
};

const files = [
  ["js/src/switchboard.js", "switchboard.mjs", { format: "esm" }],
  ["js/src/classic.js", "switchboard.js", { format: "iife" }],
  ["react/src/hooks.js", "switchboard-react.mjs", { format: "esm", bundle: false }],
];
await mkdir(to, { recursive: true });
for (const [entry, name, more] of files) {
  const { mangleProps, ...plain } = options;
  const built = await build({ ...plain, ...(entry.startsWith("js") && { mangleProps }), ...more, stdin: {
    contents: await readFile(join(source, entry), "utf8"), resolveDir: join(source, entry, "..") } });
  const code = built.outputFiles[0].contents;
  await writeFile(join(to, name), code);
  console.log(`${name} ${gzipSync(code, { level: 9 }).length}`);
}
