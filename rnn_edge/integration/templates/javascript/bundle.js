// The bundle's files and its contract, each checked against its SHA-256 before it is used.

export const FORMAT = "rnn-edge-bundle";
export const FORMAT_VERSION = 1;

/** What a person can correct: an input, a file, an argument. */
export class ModelError extends Error {
  name = "ModelError";
}

/** Reads files of one bundle. `readFile(name)` resolves to a Uint8Array. */
export class Bundle {
  #readFile;
  #files;

  constructor(manifest, readFile) {
    this.contract = manifest.contract;
    this.evidence = manifest;
    this.#files = manifest.files;
    this.#readFile = readFile;
  }

  static async open(readFile) {
    let manifest;
    try {
      manifest = JSON.parse(new TextDecoder().decode(await readFile("bundle.json")));
    } catch (error) {
      throw new ModelError(`bundle.json must be a JSON file of the bundle, got: ${error.message}.`);
    }
    if (manifest.format !== FORMAT) {
      throw new ModelError(`format of bundle.json must be ${FORMAT}, got ${manifest.format}.`);
    }
    if (manifest.format_version !== FORMAT_VERSION) {
      throw new ModelError(
        `format_version of bundle.json must be ${FORMAT_VERSION}, got ${manifest.format_version}. ` +
          "Write this program again with the rnn-edge that wrote the bundle.",
      );
    }
    return new Bundle(manifest, readFile);
  }

  /** The contract of one graph. */
  graph(name = "model") {
    return this.contract.graphs[name];
  }

  /** The bytes of a file that bundle.json lists. */
  async read(name) {
    const entry = this.#files[name];
    if (!entry) throw new ModelError(`${name} must be a file of the bundle, it is not listed.`);
    const bytes = await this.#readFile(name);
    if ((await sha256(bytes)) !== entry.sha256) {
      throw new ModelError(
        `${name} must be the file that was exported, its SHA-256 differs. Copy the bundle again.`,
      );
    }
    return bytes;
  }

  /** The folders of golden data under `prefix`, in order. */
  goldenSets(prefix = "") {
    const found = new Set();
    for (const name of Object.keys(this.#files)) {
      const match = name.startsWith(prefix) && name.slice(prefix.length).match(/^test_data_set_(\d+)\//);
      if (match) found.add(Number(match[1]));
    }
    return [...found].sort((a, b) => a - b).map((number) => `${prefix}test_data_set_${number}`);
  }
}

async function sha256(bytes) {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
