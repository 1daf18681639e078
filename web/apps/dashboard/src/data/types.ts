// The messages of the API that the panels read, as ProtoJSON: 64-bit integers are strings, durations are "1.5s".

export interface LaneStatusJson {
  readonly lane: string;
  readonly goodRatio: number;
  readonly objective: number;
  readonly budgetRemaining: number;
  readonly slowestHop: string;
  readonly reason: string;
}

export interface StatusJson {
  readonly grade: string;
  readonly score: number;
  readonly lanes: readonly LaneStatusJson[];
  readonly advice: readonly { readonly action: string; readonly evidence: string }[];
  readonly types: readonly {
    readonly type: string;
    readonly grade: string;
    readonly score: number;
    readonly lanes: readonly LaneStatusJson[];
  }[];
}

export interface HistoryJson {
  readonly step: string;
  readonly points: readonly {
    readonly startTime: string;
    readonly figures: readonly HistoryFigureJson[];
  }[];
}

export interface HistoryFigureJson {
  readonly lane: string;
  readonly count: string;
  readonly p50Seconds: number;
  readonly p99Seconds: number;
  readonly withinBudget: number;
  readonly acceptedPerSecond: number;
  readonly deliveredPerSecond: number;
  readonly rejectedPerSecond: number;
  readonly droppedPerSecond: number;
}

export interface AlertJson {
  readonly id: string;
  readonly rule: string;
  readonly severity: string;
  readonly state: string;
  readonly lane: string;
  readonly summary: string;
  readonly startTime: string;
  readonly endTime?: string;
  readonly acknowledgedBy: string;
  readonly silencedUntil?: string;
}

export interface StageJson {
  readonly percent: number;
  readonly minDuration?: string;
  readonly maxDuration?: string;
  readonly gated?: boolean;
}

export interface PlanJson {
  readonly baselinePolicy: string;
  readonly candidatePolicy: string;
  readonly stages?: readonly StageJson[];
  readonly maxLatencyRatio?: number;
  readonly benefitRatio?: number;
  readonly objective?: number;
  readonly settleDuration?: string;
  readonly lookInterval?: string;
  readonly bakeDuration?: string;
  readonly quantiles?: readonly number[];
}

export interface RuleResultJson {
  readonly rule: string;
  readonly verdict: string;
  readonly text: string;
  readonly value: number;
  readonly low: number;
  readonly high: number;
  readonly limit: number;
  readonly controlSamples: string;
  readonly candidateSamples: string;
  readonly critical: boolean;
  readonly guardOnly: boolean;
}

export interface RolloutJson {
  readonly id: string;
  readonly plan: PlanJson;
  readonly state: string;
  readonly holdReason: string;
  readonly stageIndex: number;
  readonly exposureBasisPoints: number;
  readonly verdict: string;
  readonly reason: string;
  readonly version: string;
  readonly generation: string;
  readonly createTime: string;
  readonly updateTime: string;
  readonly results: readonly RuleResultJson[];
  readonly legalVerbs: readonly string[];
  readonly missingAgents: readonly string[];
  readonly soak?: string;
  readonly lanes: readonly string[];
  readonly attempt: number;
}

export interface PoliciesJson {
  readonly policies: readonly { readonly name: string; readonly description: string }[];
  readonly inForce: readonly string[];
}

export interface ValidationJson {
  readonly stages: readonly {
    readonly percent: number;
    readonly channelsNeeded: string;
    readonly channelsActive: string;
    readonly samplesNeeded: string;
    readonly expectedDuration?: string;
  }[];
  readonly problems: readonly string[];
}

export interface ReportJson {
  readonly id: string;
  readonly title: string;
  readonly kind: string;
  readonly startTime: string;
  readonly endTime: string;
  readonly createTime: string;
}
