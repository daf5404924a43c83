// Runs the scenarios that are named on the command line, and says how each went.
import { readFileSync } from "node:fs";
import { isDeepStrictEqual, inspect } from "node:util";

const env = process.env;
export const stranger = readFileSync(env.STRANGER_CA, "utf8");
export const trusted = readFileSync(env.PGSSLROOTCERT, "utf8");
export const account = {
  host: env.PGHOST, port: Number(env.PGPORT), user: env.PGUSER, password: env.PGPASSWORD, database: env.PGDATABASE,
};
// The drivers read it, too, and would take it for something of their own.
delete env.PGSSLMODE;
delete env.PGSSLROOTCERT;

export class Skip extends Error {}

export function equal(found, expected) {
  if (!isDeepStrictEqual(found, expected)) {
    throw new Error(`${inspect(found).slice(0, 100)} instead of ${inspect(expected).slice(0, 100)}`);
  }
}

/** The action must fail with this SQLSTATE; any failure will do if there is none. */
export async function refused(state, action, code = (error) => error.code) {
  try {
    await (typeof action === "function" ? action() : action);
  } catch (error) {
    if (state && code(error) !== state) throw error;
    return error;
  }
  throw new Error(`no error, instead of ${state}`);
}

export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
export const rising = Array.from({ length: 20000 }, (_, n) => n + 1);
export const numbers = (count) => Array.from({ length: count }, (_, n) => n);
export const long = "0123456789abcdef".repeat(2 ** 18);

export async function run(version, scenarios) {
  console.log(`# ${version}, Node.js ${process.versions.node}`);
  for (const name of process.argv.slice(2)) {
    try {
      if (!scenarios[name]) throw new Skip("not in this driver");
      await scenarios[name]();
      console.log(`ok ${name}`);
    } catch (error) {
      if (env.TRACEBACK) console.error(error);
      const words = String(error.message || error).split(/\s+/).join(" ");
      console.log(error instanceof Skip ? `skip ${name} ${words}` : `not ok ${name} ${error.code ?? ""} ${words}`);
    }
  }
  process.exit(0);
}
