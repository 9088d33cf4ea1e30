/** Whose emoji are drawn and named, and under which licences. Not Apple's and Facebook's: theirs allow neither. */
import type { Package } from "./packages.ts";

/** A set of drawings in Iconify's format: `icons.json`, `info.json` with its licence, and mostly `chars.json` with its code points. */
export interface Style {
  readonly style: string;
  readonly source: Package;
  /** SPDX; the package has to say the same. */
  readonly licence: string;
  readonly by: string;
}

const iconify = (set: string, version: string, integrity: string): Package => ({
  name: `@iconify-json/${set}`,
  version,
  integrity: `sha512-${integrity}`,
});

/** In the order of their images. */
export const styles: readonly Style[] = [
  {
    style: "noto",
    source: iconify(
      "noto",
      "1.2.9",
      "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
    ),
    licence: "Apache-2.0",
    by: "Google, Noto Emoji",
  },
  {
    style: "noto-v1",
    source: iconify(
      "noto-v1",
      "1.2.5",
      "/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==",
    ),
    licence: "Apache-2.0",
    by: "Google, Noto Emoji of 2014 to 2017",
  },
  {
    style: "twemoji",
    source: iconify(
      "twemoji",
      "1.2.5",
      "uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
    ),
    licence: "CC-BY-4.0",
    by: "Twitter and the contributors of Twemoji",
  },
  {
    style: "fluent",
    source: iconify(
      "fluent-emoji",
      "1.2.7",
      "D8G6bKAyIsyxP1rzZtIWr/gg/fO4Rg1+DyCWlfqKK4h8W+4Em/Y0P6QYgJUQTlUcagzJvSyg+9OBv4hz4Hc/QA==",
    ),
    licence: "MIT",
    by: "Microsoft, Fluent Emoji",
  },
  {
    style: "fluent-flat",
    source: iconify(
      "fluent-emoji-flat",
      "1.2.6",
      "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
    ),
    licence: "MIT",
    by: "Microsoft, Fluent Emoji",
  },
  {
    style: "emojione",
    source: iconify(
      "emojione",
      "1.2.3",
      "T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
    ),
    licence: "CC-BY-4.0",
    by: "Emoji One 2.3",
  },
  {
    style: "openmoji",
    source: iconify(
      "openmoji",
      "1.2.29",
      "vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ==",
    ),
    licence: "CC-BY-SA-4.0",
    by: "OpenMoji",
  },
];

/** Names and keywords, from Unicode's CLDR. */
export const names: Package = {
  name: "emojibase-data",
  version: "17.0.0",
  integrity: "sha512-Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
};

export const languages = ["en", "de", "es", "fr", "hi", "ja", "ru", "zh"];
