/** How the sign-in page looks, in light and dark, on a phone and on a desk; no image, no font from elsewhere. */
export const SIGN_IN_STYLE = `
:root {
  color-scheme: light dark;
  --ground: light-dark(#f5f4f0, #16181a);
  --sheet: light-dark(#ffffff, #1f2225);
  --ink: light-dark(#1c1f21, #eceae4);
  --quiet: light-dark(#5c6266, #a3a8ab);
  --line: light-dark(#dcdad3, #34393d);
  --leaf: light-dark(#22633f, #7cc79b);
  --on-leaf: light-dark(#ffffff, #10221a);
  --red: light-dark(#a3261b, #ff9d92);
}
* { box-sizing: border-box; }
body {
  margin: 0; min-height: 100vh; padding: 2.5rem 1rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere;
}
main { max-width: 27rem; margin: 0 auto; }
header { margin: 0 0 1.25rem; text-align: center; }
.mark { color: var(--leaf); font-weight: 600; letter-spacing: .02em; }
h1 { font-size: 1.45rem; line-height: 1.25; margin: .35rem 0 0; font-weight: 650; text-wrap: balance; }
h2 { font-size: 1rem; margin: 0 0 .75rem; font-weight: 650; }
section {
  background: var(--sheet); border: 1px solid var(--line); border-radius: .75rem; padding: 1.25rem; margin: 0 0 1rem;
}
p { margin: 0 0 .75rem; }
p:last-child, form:last-child { margin-bottom: 0; }
form + .quiet { margin-top: .75rem; }
.quiet { color: var(--quiet); font-size: .875rem; }
.note { border-left: 3px solid var(--leaf); padding: .1rem 0 .1rem .75rem; }
.fault { border-left: 3px solid var(--red); color: var(--red); padding: .1rem 0 .1rem .75rem; }
section.fault, section.note { padding: .7rem 1rem; }
li > span { white-space: nowrap; }
label { display: block; font-size: .875rem; font-weight: 550; margin: 0 0 .75rem; }
input {
  display: block; width: 100%; margin-top: .25rem; padding: .6rem .7rem; font: inherit; color: inherit;
  background: var(--ground); border: 1px solid var(--line); border-radius: .5rem;
}
input { font-weight: 400; }
input[type=checkbox] { display: inline; width: auto; margin: 0 .4rem 0 0; }
.code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
button, .button {
  display: block; width: 100%; padding: .65rem 1rem; font: inherit; font-weight: 550; text-align: center;
  cursor: pointer;
  color: var(--ink); background: transparent; border: 1px solid var(--line); border-radius: .5rem;
  text-decoration: none;
}
button:hover, .button:hover { border-color: var(--leaf); }
button.main { background: var(--leaf); border-color: var(--leaf); color: var(--on-leaf); }
button:disabled { opacity: .55; cursor: default; }
:focus-visible { outline: 3px solid var(--leaf); outline-offset: 2px; }
.ways > * + * { margin-top: .6rem; }
.ways > [hidden]:first-child + * { margin-top: 0; }
ul { list-style: none; margin: 0 0 .75rem; padding: 0; }
li { display: flex; gap: .75rem; align-items: center; padding: .6rem 0; border-top: 1px solid var(--line); }
li:first-child { border-top: 0; padding-top: 0; }
li > div { flex: 1; min-width: 0; }
li button { width: auto; padding: .3rem .7rem; font-size: .875rem; }
.pair { display: flex; gap: .6rem; }
.pair > *, .pair button { flex: 1; }
.pair > * { display: flex; }
.pair button { padding-inline: .4rem; }
details summary { cursor: pointer; font-weight: 550; }
details[open] summary { margin-bottom: .75rem; }
[hidden] { display: none !important; }
footer { text-align: center; }
`;
