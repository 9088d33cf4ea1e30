/** A tar by its bytes, with headers that no program would write. */

export interface Member {
  readonly name: string;
  readonly data?: Uint8Array;
  /** 0: a file. */
  readonly type?: string;
  /** What the header says; unset: the data's. */
  readonly size?: number;
  readonly link?: string;
}

function header({ name, data = new Uint8Array(), type = "0", size = data.length, link = "" }: Member): Buffer {
  const block = Buffer.alloc(512);
  block.write(name, 0, 100);
  block.write("0000644\x000000000\x000000000\0", 100);
  if (size < 8 ** 11) block.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  else {
    block[124] = 0x80;
    block.writeBigUInt64BE(BigInt(size), 128);
  }
  block.write("00000000000\0        ", 136);
  block.write(type, 156);
  block.write(link, 157, 100);
  block.write("ustar\x0000", 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

export function tarOf(members: readonly Member[]): Buffer {
  const blocks = members.flatMap((member) => {
    const data = member.data ?? new Uint8Array();
    return [header(member), Buffer.from(data), Buffer.alloc((512 - (data.length % 512)) % 512)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

/** A record of a pax header, with its own length before it. */
export function paxRecord(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.from(`${length}${rest}`);
}
