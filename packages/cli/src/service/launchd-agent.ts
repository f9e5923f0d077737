/**
 * A service as an agent of launchd (launchd.plist(5)): a property list in XML. It has no condition on a file: what
 * finds nothing to do ends well, and is left alone. Its output goes nowhere, for nothing would bound it; the device's
 * own log says what happens.
 */
import { marked, type InstalledFacts, type ServiceDescription } from './description.ts';

export const LABEL = 'idlewild.device';

type Value = string | number | boolean | readonly string[] | { readonly [key: string]: Value };

export function launchdAgent(service: ServiceDescription, facts: InstalledFacts): string {
  const { program, words, environment, folder, restart, limits } = service;
  const agent: Value = {
    Label: LABEL,
    ProgramArguments: [program, ...words],
    ...(Object.keys(environment).length === 0 ? {} : { EnvironmentVariables: environment }),
    WorkingDirectory: folder,
    RunAtLoad: true,
    KeepAlive: { SuccessfulExit: false },
    ThrottleInterval: restart.afterSeconds,
    ExitTimeOut: restart.stopSeconds,
    Nice: limits.niceness,
    LowPriorityIO: true,
    LowPriorityBackgroundIO: true,
    // 0077
    Umask: 63,
  };
  return `${[
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">',
    '<!-- Made by `idlewild service install`, which writes it anew; `idlewild service uninstall` removes it. -->',
    `<!-- ${marked(facts)} -->`,
    '<plist version="1.0">',
    ...lines(agent, ''),
    '</plist>',
  ].join('\n')}\n`;
}

function lines(value: Value, indent: string): string[] {
  if (typeof value === 'string') return [`${indent}<string>${xmlText(value)}</string>`];
  if (typeof value === 'number') return [`${indent}<integer>${value}</integer>`];
  if (typeof value === 'boolean') return [`${indent}<${value}/>`];
  const deeper = `${indent}  `;
  if (Array.isArray(value)) {
    return [`${indent}<array>`, ...value.flatMap((each: string) => lines(each, deeper)), `${indent}</array>`];
  }
  const entries = Object.entries(value as { readonly [key: string]: Value });
  const inside = entries.flatMap(([key, each]) => [`${deeper}<key>${xmlText(key)}</key>`, ...lines(each, deeper)]);
  return [`${indent}<dict>`, ...inside, `${indent}</dict>`];
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** For the text of an element; what no XML can hold was refused before. */
export const xmlText = (text: string): string => text.replace(/[&<>"]/g, (sign) => ENTITIES[sign] ?? sign);
