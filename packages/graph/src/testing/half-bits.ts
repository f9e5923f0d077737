/** Float32 values as IEEE 754 binary16 bits, rounded to nearest even; beyond 65,504 infinite. */
export function halfBits(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, (word) => {
    const sign = (word >>> 16) & 0x8000;
    const magnitude = word & 0x7fff_ffff;
    if (magnitude >= 0x4780_0000) return sign | (magnitude > 0x7f80_0000 ? 0x7e00 : 0x7c00);
    // Below 2^-14 steps are 2^-24 wide: adding one half lets the float unit round them.
    if (magnitude < 0x3880_0000) {
      const absolute = new Float32Array(Uint32Array.of(magnitude).buffer)[0] as number;
      const shifted = Float32Array.of(absolute + 0.5);
      return sign | ((new Uint32Array(shifted.buffer)[0] as number) - 0x3f00_0000);
    }
    return sign | ((magnitude - 0x3800_0000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  });
}
