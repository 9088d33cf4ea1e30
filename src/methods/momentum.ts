/** m_k = 1 - (1 - m) * (cos(pi*k/K) + 1) / 2, from m to 1 over the run (BYOL, section 3.3; MoCo v3, adjust_moco_momentum). */
export const risingMomentum = (base: number, progress: number): number =>
  1 - ((1 - base) * (Math.cos(Math.PI * progress) + 1)) / 2;
