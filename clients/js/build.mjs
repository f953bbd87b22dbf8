// Builds dist/ from src/: `node build.mjs [directory]`, with esbuild and terser where Node finds them.

import { readFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";
import { minify } from "terser";

const from = new URL(".", import.meta.url).pathname;
const source = process.env.SWITCHBOARD_CLIENTS ?? join(from, "..");
const to = process.argv[2] ?? join(source, "js/dist");
const options = {
  bundle: true,
  target: "es2022",
  charset: "utf8",
  write: false,
};
// Names that only this source uses; names of the protocol, the interface and the storage stay.
const mangleProps = /^(_.*|is(Repeatable|Restored|Kept|Polite|Offering)|ignores|describe|remote|ready|gone|cast|ask|ids|note|done)$/;

const files = [
  ["js/src/switchboard.js", "switchboard.mjs", { format: "esm", mangleProps }],
  ["js/src/classic.js", "switchboard.js", { format: "iife", mangleProps }],
  ["js/src/fallback.js", "switchboard-fallback.mjs", { format: "esm" }],
  ["react/src/hooks.js", "switchboard-react.mjs", { format: "esm", bundle: false }],
];
await mkdir(to, { recursive: true });
for (const [entry, name, more] of files) {
  const built = await build({ ...options, minify: true, ...more, stdin: {
    contents: await readFile(join(source, entry), "utf8"), resolveDir: join(source, entry, "..") } });
  const { code } = await minify(built.outputFiles[0].text, {
    module: more.format === "esm",
    ecma: 2022,
    compress: { ecma: 2022, passes: 3, unsafe_arrows: true, pure_getters: true },
    format: { ecma: 2022 },
  });
  await writeFile(join(to, name), `${code}\n`);
  console.log(name);
}
