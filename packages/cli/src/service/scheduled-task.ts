/**
 * A service as a task of Windows' Task Scheduler (MS-TSCH 2.5, `schtasks /Create /XML`), run as the person who logs on,
 * since only there it can be seen whether somebody uses the machine.
 *
 * - Its "restart on failure" is about starts that fail, not about programs that end badly. So the trigger is repeated:
 *   every few minutes it is started, unless it runs.
 * - Node is a console program. `conhost --headless` gives it a console without a window.
 * - It stays on battery, on the network's loss and for ever: our own rules decide what happens then.
 */
import { IdlewildError } from '@idlewild/protocol';
import { marked, type InstalledFacts, type ServiceDescription } from './description.ts';
import { xmlText } from './launchd-agent.ts';

export const TASK_NAME = 'Idlewild';

/** 4 to 6 are the usual priority; from 7 on a busy machine starves a program for seconds, and the watcher is in it. */
const PRIORITY = 6;
const AGAIN_MINUTES = 5;

/** `user`: as `whoami` says it, `MACHINE\\name`. To be written as UTF-16 with a byte order mark. Throws `usage`. */
export function scheduledTask(service: ServiceDescription, facts: InstalledFacts, user: string): string {
  const { title, program, words, folder } = service;
  for (const text of [program, ...words, folder]) refuseExpanded(text);
  const line = ['--headless', program, ...words].map(windowsWord).join(' ');
  return `${[
    '<?xml version="1.0" encoding="UTF-16"?>',
    '<!-- Made by `idlewild service install`, which writes it anew; `idlewild service uninstall` removes it. -->',
    `<!-- ${marked(facts)} -->`,
    '<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">',
    '  <RegistrationInfo>',
    `    <Description>${xmlText(title)}</Description>`,
    '  </RegistrationInfo>',
    '  <Triggers>',
    '    <LogonTrigger>',
    '      <Repetition>',
    `        <Interval>PT${AGAIN_MINUTES}M</Interval>`,
    '        <StopAtDurationEnd>false</StopAtDurationEnd>',
    '      </Repetition>',
    '      <Enabled>true</Enabled>',
    `      <UserId>${xmlText(user)}</UserId>`,
    '    </LogonTrigger>',
    '  </Triggers>',
    '  <Principals>',
    '    <Principal id="Author">',
    `      <UserId>${xmlText(user)}</UserId>`,
    '      <LogonType>InteractiveToken</LogonType>',
    '      <RunLevel>LeastPrivilege</RunLevel>',
    '    </Principal>',
    '  </Principals>',
    '  <Settings>',
    '    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>',
    '    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>',
    '    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>',
    '    <AllowHardTerminate>true</AllowHardTerminate>',
    '    <StartWhenAvailable>true</StartWhenAvailable>',
    '    <RunOnlyIfNetworkAvailable>false</RunOnlyIfNetworkAvailable>',
    '    <IdleSettings>',
    '      <StopOnIdleEnd>false</StopOnIdleEnd>',
    '      <RestartOnIdle>false</RestartOnIdle>',
    '    </IdleSettings>',
    '    <AllowStartOnDemand>true</AllowStartOnDemand>',
    '    <Enabled>true</Enabled>',
    '    <Hidden>true</Hidden>',
    '    <RunOnlyIfIdle>false</RunOnlyIfIdle>',
    '    <WakeToRun>false</WakeToRun>',
    // No limit; left out it would be three days.
    '    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>',
    `    <Priority>${PRIORITY}</Priority>`,
    '    <RestartOnFailure>',
    '      <Interval>PT1M</Interval>',
    '      <Count>255</Count>',
    '    </RestartOnFailure>',
    '  </Settings>',
    '  <Actions Context="Author">',
    '    <Exec>',
    '      <Command>%SystemRoot%\\System32\\conhost.exe</Command>',
    `      <Arguments>${xmlText(line)}</Arguments>`,
    `      <WorkingDirectory>${xmlText(folder)}</WorkingDirectory>`,
    '    </Exec>',
    '  </Actions>',
    '</Task>',
  ].join('\r\n')}\r\n`;
}

/** One word of a command line, as programs of Microsoft's C library take it apart. */
export function windowsWord(word: string): string {
  if (word !== '' && !/[\s"]/.test(word)) return word;
  return `"${word.replace(/(\\*)"/g, '$1$1\\"').replace(/(\\+)$/, '$1$1')}"`;
}

/** The scheduler replaces `%NAME%` and `$(Arg0)` and knows no way to write them otherwise. */
function refuseExpanded(text: string): void {
  if (!/%[^%]+%|\$\(/.test(text)) return;
  throw new IdlewildError(
    'usage',
    `${text} has ${text.includes('$(') ? '"$("' : 'two per cent signs'}, a variable to the Task Scheduler; ` +
      'rename the folder',
  );
}
