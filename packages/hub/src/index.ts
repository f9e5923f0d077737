/** The control plane. */
export {};
