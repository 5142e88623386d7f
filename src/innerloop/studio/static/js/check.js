export function checking() {}
