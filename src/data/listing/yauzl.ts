/** yauzl by promises. */
import yauzl from "yauzl";

export type ZipFile = yauzl.ZipFile;
export type ZipEntry = yauzl.Entry;

/** Sizes are checked against what is unpacked; names that are absolute or lead upwards are errors. */
export const openZip = (file: string): Promise<ZipFile> =>
  new Promise((resolve, reject) => {
    yauzl.open(file, { lazyEntries: true, autoClose: false, validateEntrySizes: true }, (error, zip) => {
      if (error || !zip) reject(error);
      else resolve(zip);
    });
  });
