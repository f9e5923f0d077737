/**
 * What the sign-in page does with a script, and can be done without it but for passkeys: it takes a code out of the
 * address, so that it does not stay in the history, and talks to the authenticator. Plain JavaScript for browsers that
 * know passkeys; it loads nothing and writes no HTML.
 */
export const SIGN_IN_SCRIPT = `
'use strict';
(() => {
  const byId = (id) => document.getElementById(id);
  const base = document.body.dataset.base;
  const fault = byId('fault');
  const tell = (text) => { fault.textContent = text; fault.hidden = text === ''; if (text) fault.focus(); };

  async function post(path, body) {
    const answer = await fetch(base + path, {
      method: 'POST', credentials: 'same-origin', redirect: 'error',
      headers: { 'content-type': 'application/json', 'x-idlewild-request': '1' },
      body: JSON.stringify(body),
    });
    const said = answer.status === 204 ? {} : await answer.json();
    if (!answer.ok) throw new Error(said.error ? said.error.message : 'The hub answered ' + answer.status + '.');
    return said;
  }
  const why = (error) => error.name === 'NotAllowedError'
    ? 'No passkey was used. Try again, or sign in another way.'
    : error.name === 'InvalidStateError' ? 'This device has a passkey for this community already.' : error.message;
  function act(id, work) {
    const button = byId(id);
    if (!button) return;
    button.addEventListener('click', async () => {
      tell(''); button.disabled = true;
      try { await work(); } catch (error) { tell(why(error)); } finally { button.disabled = false; }
    });
  }

  const canUsePasskeys = document.body.dataset.passkeys === 'yes' && window.PublicKeyCredential
    && PublicKeyCredential.parseRequestOptionsFromJSON && PublicKeyCredential.parseCreationOptionsFromJSON;
  for (const part of document.querySelectorAll('[data-needs-passkeys]')) part.hidden = !canUsePasskeys;
  for (const part of document.querySelectorAll('[data-lacks-passkeys]')) part.hidden = Boolean(canUsePasskeys);

  act('passkey', async () => {
    const options = await post('/api/sign-in/passkey/begin', {});
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
    const answer = await navigator.credentials.get({ publicKey });
    await post('/api/sign-in/passkey', answer.toJSON());
    location.replace(base + '/sign-in');
  });
  act('add-passkey', async () => {
    const options = await post('/api/passkeys/begin', {});
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
    const made = await navigator.credentials.create({ publicKey });
    await post('/api/passkeys', {
      name: byId('passkey-name').value, response: made.toJSON(), everywhere: byId('everywhere')?.checked === true,
    });
    location.replace(base + '/sign-in');
  });

  const said = new URLSearchParams(location.hash.slice(1));
  if (said.has('code') || said.has('approve')) history.replaceState(null, '', location.pathname);
  const code = byId('code');
  if (said.has('code') && code) {
    code.value = said.get('code');
    const elsewhere = byId('elsewhere');
    if (elsewhere) elsewhere.hash = 'code=' + encodeURIComponent(code.value);
    byId('with-code').open = true;
    byId('enter').focus();
  }
  const approve = byId('user-code');
  if (said.has('approve') && approve) { approve.value = said.get('approve'); approve.focus(); }
})();
`;
