# What Idlewild asks Windows, once a second and when somebody comes back, as one line of JSON: when somebody last touched keyboard or mouse, whether
# the screen is locked or filled by one program, power, memory, processor time, and every ten seconds the names of
# programs that run and whether camera or microphone are in use. It changes nothing and asks for no rights. It ends when
# the process whose number it was given has ended.
param([Parameter(Mandatory = $true)][int]$Parent)
$ErrorActionPreference = 'SilentlyContinue'

Add-Type -TypeDefinition @'
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

public static class IdlewildWatch {
  [StructLayout(LayoutKind.Sequential)]
  struct LastInput { public uint Size; public uint Tick; }

  [StructLayout(LayoutKind.Sequential)]
  struct PowerStatus { public byte Line; public byte Flag; public byte Percent; public byte Saver; public int Left; public int Full; }

  [StructLayout(LayoutKind.Sequential)]
  struct MemoryStatus {
    public uint Length; public uint Load;
    public ulong Total; public ulong Available; public ulong PageTotal; public ulong PageAvailable;
    public ulong VirtualTotal; public ulong VirtualAvailable; public ulong Extended;
  }

  [StructLayout(LayoutKind.Sequential, CharSet = CharSet.Unicode)]
  struct Entry {
    public uint Size; public uint Usage; public uint Pid; public IntPtr Heap; public uint Module; public uint Threads;
    public uint Parent; public int Priority; public uint Flags;
    [MarshalAs(UnmanagedType.ByValTStr, SizeConst = 260)] public string File;
  }

  [DllImport("user32.dll")] static extern bool GetLastInputInfo(ref LastInput input);
  [DllImport("shell32.dll")] static extern int SHQueryUserNotificationState(out int state);
  [DllImport("kernel32.dll")] static extern bool GetSystemPowerStatus(out PowerStatus power);
  [DllImport("kernel32.dll")] static extern bool GlobalMemoryStatusEx(ref MemoryStatus memory);
  [DllImport("kernel32.dll")] static extern bool GetSystemTimes(out long idle, out long kernel, out long user);
  [DllImport("kernel32.dll")] static extern IntPtr CreateToolhelp32Snapshot(uint flags, uint pid);
  [DllImport("kernel32.dll", CharSet = CharSet.Unicode)] static extern bool Process32FirstW(IntPtr all, ref Entry entry);
  [DllImport("kernel32.dll", CharSet = CharSet.Unicode)] static extern bool Process32NextW(IntPtr all, ref Entry entry);
  [DllImport("kernel32.dll")] static extern bool CloseHandle(IntPtr handle);

  [ComImport, Guid("BCDE0395-E52F-467C-8E3D-C4579291692E")] class DeviceEnumerator { }

  [ComImport, Guid("A95664D2-9614-4F35-A746-DE8DB63617E6"), InterfaceType(ComInterfaceType.InterfaceIsIUnknown)]
  interface IDeviceEnumerator {
    int EnumAudioEndpoints(int flow, int states, out IntPtr devices);
    [PreserveSig] int GetDefaultAudioEndpoint(int flow, int role, out IDevice device);
  }

  [ComImport, Guid("D666063F-1587-4E43-81F1-B948E807363F"), InterfaceType(ComInterfaceType.InterfaceIsIUnknown)]
  interface IDevice {
    [PreserveSig] int Activate(ref Guid id, int context, IntPtr parameters, [MarshalAs(UnmanagedType.IUnknown)] out object found);
  }

  [ComImport, Guid("C02216F6-8C67-4B5B-9D00-D008E73E0064"), InterfaceType(ComInterfaceType.InterfaceIsIUnknown)]
  interface IMeter {
    [PreserveSig] int GetPeakValue(out float peak);
  }

  static IMeter meter;

  // The loudspeaker may be another one by now, so it is looked for anew with every slow round.
  static void FindMeter() {
    meter = null;
    try {
      IDevice device; object found;
      var id = new Guid("C02216F6-8C67-4B5B-9D00-D008E73E0064");
      var enumerator = (IDeviceEnumerator)(object)new DeviceEnumerator();
      if (enumerator.GetDefaultAudioEndpoint(0, 1, out device) != 0) return;
      if (device.Activate(ref id, 23, IntPtr.Zero, out found) == 0) meter = (IMeter)found;
    } catch (Exception) { }
  }

  static List<Entry> Processes() {
    var all = new List<Entry>();
    var snapshot = CreateToolhelp32Snapshot(2, 0);
    if (snapshot == new IntPtr(-1)) return all;
    var entry = new Entry();
    entry.Size = (uint)Marshal.SizeOf(typeof(Entry));
    for (var more = Process32FirstW(snapshot, ref entry); more; more = Process32NextW(snapshot, ref entry)) all.Add(entry);
    CloseHandle(snapshot);
    return all;
  }

  static List<Entry> known = new List<Entry>();

  // A parent's number may have been given to another process since, so children have to be younger than their parent.
  static double OwnMs(int root) {
    var own = new HashSet<uint>(); own.Add((uint)root);
    var started = new Dictionary<uint, DateTime>();
    double sum = 0;
    for (var grew = true; grew; ) {
      grew = false;
      foreach (var entry in known) {
        if (started.ContainsKey(entry.Pid)) continue;
        if (entry.Pid != root && !own.Contains(entry.Parent)) continue;
        try {
          using (var process = Process.GetProcessById((int)entry.Pid)) {
            var at = process.StartTime;
            started[entry.Pid] = at;
            if (entry.Pid != root && started.ContainsKey(entry.Parent) && at < started[entry.Parent]) continue;
            own.Add(entry.Pid); grew = true;
            sum += process.TotalProcessorTime.TotalMilliseconds;
          }
        } catch (Exception) { started[entry.Pid] = DateTime.MaxValue; }
      }
    }
    return sum;
  }

  static uint touchedTick;

  // Whether somebody came back after a second or more; while somebody types, the line of each second tells.
  public static bool Returned() {
    var input = new LastInput();
    input.Size = (uint)Marshal.SizeOf(typeof(LastInput));
    if (!GetLastInputInfo(ref input)) return false;
    var away = unchecked(input.Tick - touchedTick);
    touchedTick = input.Tick;
    return away >= 1000;
  }

  static string Number(double value) { return value.ToString("0.###", CultureInfo.InvariantCulture); }

  static string Quoted(string text) {
    var quoted = new StringBuilder("\"");
    foreach (var letter in text) {
      if (letter == '"' || letter == '\\') quoted.Append('\\').Append(letter);
      else if (letter < ' ') quoted.AppendFormat("\\u{0:x4}", (int)letter);
      else quoted.Append(letter);
    }
    return quoted.Append('"').ToString();
  }

  public static string Line(int root, bool slow, string more) {
    var fields = new List<string>();
    fields.Add("\"session\":" + Process.GetCurrentProcess().SessionId);
    var input = new LastInput();
    input.Size = (uint)Marshal.SizeOf(typeof(LastInput));
    if (GetLastInputInfo(ref input)) fields.Add("\"idleMs\":" + unchecked((uint)Environment.TickCount - input.Tick));
    int state;
    if (SHQueryUserNotificationState(out state) == 0) fields.Add("\"state\":" + state);
    PowerStatus power;
    if (GetSystemPowerStatus(out power)) {
      fields.Add("\"line\":" + power.Line + ",\"flag\":" + power.Flag + ",\"percent\":" + power.Percent);
    }
    var memory = new MemoryStatus();
    memory.Length = (uint)Marshal.SizeOf(typeof(MemoryStatus));
    if (GlobalMemoryStatusEx(ref memory) && memory.Total > 0) {
      fields.Add("\"memoryFree\":" + Number((double)memory.Available / memory.Total));
    }
    // Each time, or an engine that has just begun would be taken for somebody else's work.
    known = Processes();
    if (slow) FindMeter();
    long idle, kernel, user;
    // Kernel time has idle time in it.
    if (GetSystemTimes(out idle, out kernel, out user)) {
      fields.Add("\"busyMs\":" + Number((kernel + user - idle) / 1e4) + ",\"totalMs\":" + Number((kernel + user) / 1e4));
      fields.Add("\"ownMs\":" + Number(OwnMs(root)));
    }
    float peak;
    if (meter != null && meter.GetPeakValue(out peak) == 0) fields.Add("\"sound\":" + (peak > 0.0001 ? "true" : "false"));
    if (slow) {
      var names = new HashSet<string>();
      foreach (var entry in known) names.Add(Quoted(entry.File));
      fields.Add("\"programs\":[" + string.Join(",", names) + "]");
    }
    if (more != "") fields.Add(more);
    return "{" + string.Join(",", fields) + "}";
  }
}
'@

# Windows notes for each program when it last began and ended to use a device; one that has not ended has no end.
function InUse([string]$device) {
  $root = "HKCU:\Software\Microsoft\Windows\CurrentVersion\CapabilityAccessManager\ConsentStore\$device"
  if (-not (Test-Path $root)) { return $null }
  $used = Get-ChildItem -Path $root -Recurse | Where-Object {
    $_.GetValue('LastUsedTimeStop') -eq 0 -and $_.GetValue('LastUsedTimeStart') -gt 0
  }
  return [bool]$used
}

function Metered {
  try {
    [void][Windows.Networking.Connectivity.NetworkInformation, Windows, ContentType = WindowsRuntime]
    $connection = [Windows.Networking.Connectivity.NetworkInformation]::GetInternetConnectionProfile()
    if ($null -eq $connection) { return $null }
    # 1: no limit; 2 and 3: a volume, or by the byte.
    $cost = [int]$connection.GetConnectionCost().NetworkCostType
    if ($cost -eq 0) { return $null }
    return $cost -ne 1
  } catch { return $null }
}

function Field([string]$name, $value) {
  if ($null -eq $value) { return }
  return '"{0}":{1}' -f $name, ([string]$value).ToLowerInvariant()
}

for ($round = 0; ; $round++) {
  if (-not (Get-Process -Id $Parent)) { exit }
  $slow = $round % 10 -eq 0
  $more = ''
  if ($slow) {
    $fields = @((Field 'camera' (InUse 'webcam')), (Field 'microphone' (InUse 'microphone')), (Field 'metered' (Metered)))
    $more = ($fields | Where-Object { $_ }) -join ','
  }
  [Console]::Out.WriteLine([IdlewildWatch]::Line($Parent, $slow, $more))
  [Console]::Out.Flush()
  for ($wait = 0; $wait -lt 10; $wait++) {
    Start-Sleep -Milliseconds 100
    if ([IdlewildWatch]::Returned()) { break }
  }
}
