/**
 * What to tell someone whose Node is too old, or undefined. Only old syntax here: an old Node must get this far.
 *
 * @param {string} version
 * @returns {string | undefined}
 */
export function versionProblem(version) {
  const parts = version.split('.');
  const major = Number(parts[0]);
  const minor = Number(parts[1]);
  if (major > 22 || (major === 22 && minor >= 18)) return undefined;
  return (
    `Skein needs Node 22.18 or newer, but this is Node ${version}.\n` +
    'In a checkout run it through npm, which brings its own Node: npm ci && npm start\n' +
    'Elsewhere install a newer Node: https://nodejs.org/en/download'
  );
}
