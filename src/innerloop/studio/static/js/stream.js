export function streaming() {}
