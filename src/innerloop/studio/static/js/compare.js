export function comparing() {}
