"""Every directive that systemd 252 knows, section by section (`systemd --dump-configuration-items`), and those that the supervisor
honours."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_RESOURCES = _words("""
    AllowedCPUs AllowedMemoryNodes BPFProgram BlockIOAccounting BlockIODeviceWeight BlockIOReadBandwidth BlockIOWeight
    BlockIOWriteBandwidth CPUAccounting CPUQuota CPUQuotaPeriodSec CPUShares CPUWeight DefaultMemoryLow DefaultMemoryMin Delegate
    DeviceAllow DevicePolicy DisableControllers IOAccounting IODeviceLatencyTargetSec IODeviceWeight IOReadBandwidthMax IOReadIOPSMax
    IOWeight IOWriteBandwidthMax IOWriteIOPSMax IPAccounting IPAddressAllow IPAddressDeny IPEgressFilterPath IPIngressFilterPath
    ManagedOOMMemoryPressure ManagedOOMMemoryPressureLimit ManagedOOMPreference ManagedOOMSwap MemoryAccounting MemoryHigh MemoryLimit
    MemoryLow MemoryMax MemoryMin MemorySwapMax RestrictNetworkInterfaces Slice SocketBindAllow SocketBindDeny StartupAllowedCPUs
    StartupAllowedMemoryNodes StartupBlockIOWeight StartupCPUShares StartupCPUWeight StartupIOWeight TasksAccounting TasksMax
""")
_KILLING = _words("""
    FinalKillSignal KillMode KillSignal RestartKillSignal SendSIGHUP SendSIGKILL WatchdogSignal
""")
_EXECUTION = _words("""
    AmbientCapabilities AppArmorProfile BindPaths BindReadOnlyPaths CPUAffinity CPUSchedulingPolicy CPUSchedulingPriority
    CPUSchedulingResetOnFork CacheDirectory CacheDirectoryMode CapabilityBoundingSet ConfigurationDirectory ConfigurationDirectoryMode
    CoredumpFilter DynamicUser Environment EnvironmentFile ExecPaths ExecSearchPath ExtensionDirectories ExtensionImages Group
    IOSchedulingClass IOSchedulingPriority IPCNamespacePath IgnoreSIGPIPE InaccessibleDirectories InaccessiblePaths KeyringMode LimitAS
    LimitCORE LimitCPU LimitDATA LimitFSIZE LimitLOCKS LimitMEMLOCK LimitMSGQUEUE LimitNICE LimitNOFILE LimitNPROC LimitRSS LimitRTPRIO
    LimitRTTIME LimitSIGPENDING LimitSTACK LoadCredential LoadCredentialEncrypted LockPersonality LogExtraFields LogLevelMax
    LogNamespace LogRateLimitBurst LogRateLimitIntervalSec LogsDirectory LogsDirectoryMode MemoryDenyWriteExecute MountAPIVFS MountFlags
    MountImages NUMAMask NUMAPolicy NetworkNamespacePath Nice NoExecPaths NoNewPrivileges OOMScoreAdjust PAMName PassEnvironment
    Personality PrivateDevices PrivateIPC PrivateMounts PrivateNetwork PrivateTmp PrivateUsers ProcSubset ProtectClock
    ProtectControlGroups ProtectHome ProtectHostname ProtectKernelLogs ProtectKernelModules ProtectKernelTunables ProtectProc
    ProtectSystem ReadOnlyDirectories ReadOnlyPaths ReadWriteDirectories ReadWritePaths RemoveIPC RestrictAddressFamilies
    RestrictFileSystems RestrictNamespaces RestrictRealtime RestrictSUIDSGID RootDirectory RootHash RootHashSignature RootImage
    RootImageOptions RootVerity RuntimeDirectory RuntimeDirectoryMode RuntimeDirectoryPreserve SELinuxContext SecureBits SetCredential
    SetCredentialEncrypted SmackProcessLabel StandardError StandardInput StandardInputData StandardInputText StandardOutput
    StateDirectory StateDirectoryMode SupplementaryGroups SyslogFacility SyslogIdentifier SyslogLevel SyslogLevelPrefix
    SystemCallArchitectures SystemCallErrorNumber SystemCallFilter SystemCallLog TTYColumns TTYPath TTYReset TTYRows TTYVHangup
    TTYVTDisallocate TemporaryFileSystem TimeoutCleanSec TimeoutSec TimerSlackNSec UMask UnsetEnvironment User UtmpIdentifier UtmpMode
    WorkingDirectory
""")
_UNIT = _words("""
    After AllowIsolate AssertACPower AssertArchitecture AssertCPUFeature AssertCPUPressure AssertCPUs AssertCapability
    AssertControlGroupController AssertCredential AssertDirectoryNotEmpty AssertEnvironment AssertFileIsExecutable AssertFileNotEmpty
    AssertFirstBoot AssertGroup AssertHost AssertIOPressure AssertKernelCommandLine AssertKernelVersion AssertMemory
    AssertMemoryPressure AssertNeedsUpdate AssertOSRelease AssertPathExists AssertPathExistsGlob AssertPathIsDirectory
    AssertPathIsEncrypted AssertPathIsMountPoint AssertPathIsReadWrite AssertPathIsSymbolicLink AssertSecurity AssertUser
    AssertVirtualization Before BindTo BindsTo CollectMode ConditionACPower ConditionArchitecture ConditionCPUFeature
    ConditionCPUPressure ConditionCPUs ConditionCapability ConditionControlGroupController ConditionCredential
    ConditionDirectoryNotEmpty ConditionEnvironment ConditionFileIsExecutable ConditionFileNotEmpty ConditionFirmware ConditionFirstBoot
    ConditionGroup ConditionHost ConditionIOPressure ConditionKernelCommandLine ConditionKernelVersion ConditionMemory
    ConditionMemoryPressure ConditionNeedsUpdate ConditionOSRelease ConditionPathExists ConditionPathExistsGlob ConditionPathIsDirectory
    ConditionPathIsEncrypted ConditionPathIsMountPoint ConditionPathIsReadWrite ConditionPathIsSymbolicLink ConditionSecurity
    ConditionUser ConditionVirtualization Conflicts DefaultDependencies Description Documentation FailureAction FailureActionExitStatus
    IgnoreOnIsolate JobRunningTimeoutSec JobTimeoutAction JobTimeoutRebootArgument JobTimeoutSec JoinsNamespaceOf OnFailure
    OnFailureIsolate OnFailureJobMode OnSuccess OnSuccessJobMode PartOf PropagateReloadFrom PropagateReloadTo PropagatesReloadTo
    PropagatesStopTo RebootArgument RefuseManualStart RefuseManualStop ReloadPropagatedFrom Requires RequiresMountsFor
    RequiresOverridable Requisite RequisiteOverridable SourcePath StartLimitAction StartLimitBurst StartLimitInterval
    StartLimitIntervalSec StopPropagatedFrom StopWhenUnneeded SuccessAction SuccessActionExitStatus Upholds Wants
""")
_SERVICE = _words("""
    BusName ExecCondition ExecReload ExecStart ExecStartPost ExecStartPre ExecStop ExecStopPost ExitType FailureAction
    FileDescriptorStoreMax GuessMainPID NonBlocking NotifyAccess OOMPolicy PIDFile PermissionsStartOnly RebootArgument RemainAfterExit
    Restart RestartForceExitStatus RestartPreventExitStatus RestartSec RootDirectoryStartOnly RuntimeMaxSec RuntimeRandomizedExtraSec
    Sockets StartLimitAction StartLimitBurst StartLimitInterval SuccessExitStatus TimeoutAbortSec TimeoutStartFailureMode
    TimeoutStartSec TimeoutStopFailureMode TimeoutStopSec Type USBFunctionDescriptors USBFunctionStrings WatchdogSec
""")
_SOCKET = _words("""
    Accept Backlog BindIPv6Only BindToDevice Broadcast DeferAcceptSec DirectoryMode ExecStartPost ExecStartPre ExecStopPost ExecStopPre
    FileDescriptorName FlushPending FreeBind IPTOS IPTTL KeepAlive KeepAliveIntervalSec KeepAliveProbes KeepAliveTimeSec ListenDatagram
    ListenFIFO ListenMessageQueue ListenNetlink ListenSequentialPacket ListenSpecial ListenStream ListenUSBFunction Mark MaxConnections
    MaxConnectionsPerSource MessageQueueMaxMessages MessageQueueMessageSize NoDelay PassCredentials PassPacketInfo PassSecurity PipeSize
    Priority ReceiveBuffer RemoveOnStop ReusePort SELinuxContextFromNet SendBuffer Service SmackLabel SmackLabelIPIn SmackLabelIPOut
    SocketGroup SocketMode SocketProtocol SocketUser Symlinks TCPCongestion Timestamping Transparent TriggerLimitBurst
    TriggerLimitIntervalSec Writable
""")
_MOUNT = _words("""
    DirectoryMode ForceUnmount LazyUnmount Options ReadWriteOnly SloppyOptions Type What Where
""")
_AUTOMOUNT = _words("""
    DirectoryMode ExtraOptions TimeoutIdleSec Where
""")
_SWAP = _words("""
    Options Priority What
""")
_TIMER = _words("""
    AccuracySec FixedRandomDelay OnActiveSec OnBootSec OnCalendar OnClockChange OnStartupSec OnTimezoneChange OnUnitActiveSec
    OnUnitInactiveSec Persistent RandomizedDelaySec RemainAfterElapse Unit WakeSystem
""")
_PATH = _words("""
    DirectoryMode DirectoryNotEmpty MakeDirectory PathChanged PathExists PathExistsGlob PathModified TriggerLimitBurst
    TriggerLimitIntervalSec Unit
""")
_INSTALL = _words("""
    Alias Also DefaultInstance RequiredBy WantedBy
""")

KNOWN: dict[str, frozenset[str]] = {
    "Unit": _UNIT,
    "Service": _SERVICE | _EXECUTION | _KILLING | _RESOURCES,
    "Socket": _SOCKET | _EXECUTION | _KILLING | _RESOURCES,
    "Mount": _MOUNT | _EXECUTION | _KILLING | _RESOURCES,
    "Automount": _AUTOMOUNT,
    "Swap": _SWAP | _EXECUTION | _KILLING | _RESOURCES,
    "Timer": _TIMER,
    "Path": _PATH,
    "Slice": _RESOURCES,
    "Install": _INSTALL,
}
"""Section to directives. Sections whose name begins with X- are for others and never looked at by systemd."""

HONOURED: dict[str, frozenset[str]] = {
    "Unit": _words("""
        After BindTo BindsTo Description Documentation PartOf Requires StartLimitBurst StartLimitInterval StartLimitIntervalSec
    """),
    "Service": _words("""
        Environment EnvironmentFile ExecReload ExecStart ExecStartPost ExecStartPre ExecStop ExecStopPost Group KillMode KillSignal
        NotifyAccess RemainAfterExit Restart RestartSec SendSIGKILL StartLimitBurst StartLimitInterval SuccessExitStatus TimeoutSec
        TimeoutStartSec TimeoutStopSec Type UMask User WorkingDirectory
    """),
}
"""What the supervisor does as systemd does. Everything else that systemd knows it names as not honoured."""
